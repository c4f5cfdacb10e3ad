/** What the relay says of itself; the app lists it with the provider. */
export const relayVersion = '0.1.0';
