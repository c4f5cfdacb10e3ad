/** Calls of addresses that operators named. */
export interface Webhooks {
  /**
   * Posts JSON once. Resolves with the answer's status, whatever it is; rejects with US6070 where there is none within
   * `timeoutSeconds` of system time, or where `faultOf` finds a fault. `idempotencyKey` goes along as a header: a call may come
   * twice. Late answers are not waited for again (retry `never`): the receiver has the call. No error holds the address's query
   * or credentials.
   */
  post(
    url: string,
    body: unknown,
    options: { timeoutSeconds: number; idempotencyKey: string },
  ): Promise<{ status: number }>;
  /**
   * What keeps an address from being called, in words that hold nothing of it; undefined where nothing does. Called are https,
   * and http on loopback where the app runs there itself, both without credentials.
   */
  faultOf(url: string): string | undefined;
}
