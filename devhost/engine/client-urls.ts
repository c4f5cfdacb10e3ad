/** URLs of the durable webhooks, as the durableClient binding and the answers to a start carry them. */
export const webhookPath = '/runtime/webhooks/durabletask';

const idPlaceholder = 'INSTANCEID';

function managementUrls(base: string, hubName: string, instanceId: string): Record<string, string> {
  const instance = `${base}/instances/${instanceId}`;
  const query = `taskHub=${hubName}&connection=Storage`;
  return {
    id: instanceId,
    statusQueryGetUri: `${instance}?${query}`,
    sendEventPostUri: `${instance}/raiseEvent/{eventName}?${query}`,
    terminatePostUri: `${instance}/terminate?reason={text}&${query}`,
    rewindPostUri: `${instance}/rewind?reason={text}&${query}`,
    purgeHistoryDeleteUri: `${instance}?${query}`,
    restartPostUri: `${instance}/restart?${query}`,
    suspendPostUri: `${instance}/suspend?reason={text}&${query}`,
    resumePostUri: `${instance}/resume?reason={text}&${query}`,
  };
}

/** What a client gets to follow an instance by. */
export function instanceUrls(origin: string, hubName: string, instanceId: string): Record<string, string> {
  return { ...managementUrls(`${origin}${webhookPath}`, hubName, encodeURIComponent(instanceId)), id: instanceId };
}

/** JSON text of the durableClient input binding. */
export function clientBindingText(origin: string, hubName: string, rpcBaseUrl: string | undefined): string {
  const base = `${origin}${webhookPath}`;
  const query = `taskHub=${hubName}&connection=Storage`;
  return JSON.stringify({
    taskHubName: hubName,
    connectionName: null,
    creationUrls: {
      createNewInstancePostUri: `${base}/orchestrators/{functionName}[/{instanceId}]?${query}`,
      createAndWaitOnNewInstancePostUri:
        `${base}/orchestrators/{functionName}[/{instanceId}]` +
        `?timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}&${query}`,
    },
    managementUrls: managementUrls(base, hubName, idPlaceholder),
    baseUrl: base,
    requiredQueryStringParameters: query,
    // The library joins relative paths to it, so it must end in a slash.
    rpcBaseUrl: rpcBaseUrl ?? `${base}/`,
  });
}
