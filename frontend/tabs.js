/** What the tabs of one browser tell each other: signed in, signed out, my seats changed. */
export class Tabs {
  #channel = new BroadcastChannel("rowlock");
  #listeners = new Map();

  constructor() {
    this.#channel.onmessage = ({ data: { word, detail } }) => this.#listeners.get(word)?.(detail);
  }

  hear(word, listener) {
    this.#listeners.set(word, listener);
  }

  say(word, detail = null) {
    this.#channel.postMessage({ word, detail });
  }
}
