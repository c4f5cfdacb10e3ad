/** Who a bearer token speaks for. */
export interface TokenHolder {
  /** For logs and refusals: a user's name, or an application's id. */
  name: string;
  /** The stable id of the user or application in its directory. */
  objectId: string;
  /** App roles that the directory gave it. */
  roles: string[];
}

/** Checks bearer tokens of callers of the ARM surface. */
export interface TokenVerifier {
  /**
   * Rejects with US1009 where the token was not issued by the directory for this app, is not signed by one of its keys, or is
   * not valid now; with US1033 where the directory's keys cannot be had. No error holds the token.
   */
  verify(token: string): Promise<TokenHolder>;
}
