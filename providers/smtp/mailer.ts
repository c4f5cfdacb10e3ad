import { createTransport } from 'nodemailer';
import { UnderstudyError } from '../../core/domain/errors.js';
import type { Mailer } from '../../core/ports/mailer.js';

export interface SmtpServer {
  /** `smtps://user:password@host:465`, or `smtp://…` with STARTTLS, which only a server on loopback may lack. */
  url: string;
  from: string;
}

/** Of reaching a server, which one that is there does at once; and of waiting for its answers. */
const connectTimeoutMs = 10_000;
const answerTimeoutMs = 30_000;
const loopback = new Set(['127.0.0.1', 'localhost', '[::1]']);

export function openMailer({ url, from }: SmtpServer): Mailer {
  const { hostname } = new URL(url);
  const transport = createTransport(
    {
      url,
      requireTLS: !loopback.has(hostname),
      dnsTimeout: connectTimeoutMs,
      connectionTimeout: connectTimeoutMs,
      greetingTimeout: connectTimeoutMs,
      socketTimeout: answerTimeoutMs,
    },
    // An alert is no marketing: nobody's auto-reply should answer it.
    { from, headers: { 'Auto-Submitted': 'auto-generated' } },
  );
  return {
    send: async ({ to, subject, text }) => {
      try {
        const { rejectedErrors = [] } = await transport.sendMail({ to: [...to], subject, text });
        return {
          refused: rejectedErrors.map(({ recipient = '', responseCode = 0, response = '' }) => ({
            address: recipient,
            isForGood: responseCode >= 500,
            answer: response.split('\n')[0] ?? '',
          })),
        };
      } catch (error) {
        throw notSent(hostname, error);
      }
    },
  };
}

/** The server's own words; the address that we know it by holds a password. */
const notSent = (hostname: string, error: unknown): UnderstudyError =>
  new UnderstudyError({
    code: 'US6080',
    message: `US6080 mail could not be handed to ${hostname}${refusedOf(error)}: ${error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)}`,
    possibleCauses: 'The mail server is down, refuses the sender or an address, or its password was changed.',
    recommendedAction:
      'It is tried again for a day. See UNDERSTUDY_SMTP_URL and UNDERSTUDY_MAIL_FROM, and the server’s log.',
    retry: 'later',
    httpStatus: 502,
  });

/** Where it refused everybody; an operator would look in vain for whom. */
const refusedOf = (error: unknown): string =>
  error instanceof Error && 'rejected' in error && Array.isArray(error.rejected)
    ? ` for ${error.rejected.join(', ')}`
    : '';
