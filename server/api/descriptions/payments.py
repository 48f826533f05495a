"""What payment providers tell us."""

from server import errors
from server.api.openapi import JSON, Answer, Operation

OPERATIONS = [
    Operation(
        "POST",
        "/api/payments/stripe/webhook",
        "hearStripe",
        "An event of Stripe; its signature is the proof of who calls",
        {204: Answer("Heard.")},
        other_body=JSON,
        reads=("Stripe-Signature",),
        refusals=(errors.WebhookRefused,),
    ),
]
