/** What the app tells Application Insights beside what the host sends by itself. */
export interface Telemetry {
  failure(message: string, error: unknown): void;
  /** Sends what is waiting. */
  flush(): Promise<void>;
}

/**
 * Starts Application Insights. The package is large and most laptops have no use for it: it is loaded here, and only when a
 * connection string is set.
 */
export async function startTelemetry(connectionString: string): Promise<Telemetry> {
  const { default: applicationInsights } = await import('applicationinsights');
  const client = new applicationInsights.TelemetryClient(connectionString);
  return {
    failure(message, error) {
      client.trackException({
        exception: error instanceof Error ? error : new Error(String(error)),
        properties: { message },
      });
    },
    flush: () =>
      new Promise((resolve) => {
        client.flush({ callback: () => resolve() });
      }),
  };
}
