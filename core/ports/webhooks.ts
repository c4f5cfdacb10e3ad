/** Calls of addresses that operators named. */
export interface Webhooks {
  /**
   * Posts JSON once. Resolves with the answer's status, whatever it is; rejects with US6070 where there is none within
   * `timeoutSeconds` of system time, or where the address is none that may be called: https, or http on loopback where the app
   * runs there itself. `idempotencyKey` goes along as a header: a call may come twice. No error holds the address's query.
   */
  post(
    url: string,
    body: unknown,
    options: { timeoutSeconds: number; idempotencyKey: string },
  ): Promise<{ status: number }>;
}
