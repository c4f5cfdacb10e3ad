import { createTransport } from 'nodemailer';
import { UnderstudyError } from '../../core/domain/errors.js';
import type { Mailer } from '../../core/ports/mailer.js';

export interface SmtpServer {
  /** `smtps://user:password@host:465`, or `smtp://…` with STARTTLS, which only a server on loopback may lack. */
  url: string;
  from: string;
}

const timeoutMs = 30_000;
const loopback = new Set(['127.0.0.1', 'localhost', '[::1]']);

export function openMailer({ url, from }: SmtpServer): Mailer {
  const { hostname } = new URL(url);
  const transport = createTransport(
    {
      url,
      requireTLS: !loopback.has(hostname),
      connectionTimeout: timeoutMs,
      greetingTimeout: timeoutMs,
      socketTimeout: timeoutMs,
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
    message: `US6080 mail could not be handed to ${hostname}: ${error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)}`,
    possibleCauses: 'The mail server is down, refuses the sender or an address, or its password was changed.',
    recommendedAction:
      'It is tried again for a day. See UNDERSTUDY_SMTP_URL and UNDERSTUDY_MAIL_FROM, and the server’s log.',
    retry: 'later',
    httpStatus: 502,
  });
