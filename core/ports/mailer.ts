/** An address that a mail server did not take a mail for; `isForGood`: it would not take it later either (SMTP 5yz, RFC 5321, 4.2.1). */
export interface RefusedAddress {
  address: string;
  isForGood: boolean;
  /** The server's own words. */
  answer: string;
}

/** Sends mail. */
export interface Mailer {
  /** Resolves when a mail server has taken it, with the addresses it was not taken for; rejects with US6080 where it was for none. */
  send(mail: { to: readonly string[]; subject: string; text: string }): Promise<{ refused: RefusedAddress[] }>;
}
