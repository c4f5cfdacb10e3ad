import { asVmId } from '../../../../core/domain/ids.js';
import { openSimulatedSite } from '../../../../providers/simulated-site/client.js';
import { hypervisorHostConformance } from '../../../support/conformance/hypervisor-host.js';
import { startTestSite } from '../../../support/site/test-site.js';

hypervisorHostConformance('simulated site', async (t) => {
  const { siteFolder, connection } = await startTestSite(t);
  const host = openSimulatedSite({ siteFolder });
  const vm = (await host.inventory()).vms.find(({ name }) => name === 'sql-01');
  return {
    host,
    vmId: asVmId(vm?.vmId ?? ''),
    write: async (diskIndex, offsetBytes, data) => {
      await connection.call('write', { vm: 'sql-01', diskIndex, offsetBytes, dataBase64: data.toString('base64') });
    },
  };
});
