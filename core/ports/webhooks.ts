/** Calls of addresses that operators named. */
export interface Webhooks {
  /** What keeps an address from being called, in words without its secrets; undefined where nothing does. */
  refusalOf(url: string): string | undefined;
  /**
   * Posts JSON once. Resolves with the answer's status, whatever it is; rejects with US6070 where there is none within
   * `timeoutSeconds` of system time, or where the address is refused: it is https, or http on loopback where the app runs there
   * itself, and has neither user nor password. `idempotencyKey` goes along as a header: a call may come twice. No error holds more of the address than its origin.
   */
  post(
    url: string,
    body: unknown,
    options: { timeoutSeconds: number; idempotencyKey: string },
  ): Promise<{ status: number }>;
}
