/** Sends mail. */
export interface Mailer {
  /** Resolves when a mail server has taken it for every address; rejects with US6080 where it has not. */
  send(mail: { to: readonly string[]; subject: string; text: string }): Promise<void>;
}
