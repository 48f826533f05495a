// Draws /openapi.json with Swagger UI, which comes from our own address, as a classic script.

globalThis.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false, // a token stays in memory
  queryConfigEnabled: false, // an address cannot name another document
  validatorUrl: null, // nothing is asked of another site
  layout: "BaseLayout",
});
