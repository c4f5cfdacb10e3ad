import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { bootVm } from '../providers/local-compute/boot-vm.js';
import { openLocalCompute } from '../providers/local-compute/local-compute.js';
import { openLocalAzure } from '../providers/local-azure/local-azure.js';
import { openReplicaStore } from '../providers/azure-storage/replica-store.js';
import { openTableStateTable } from '../providers/azure-storage/state-table.js';
import { localVmsTableName } from '../functions/composition.js';
import { localResourceGroup, localSubscriptionId } from './supervisor/environment.js';
import { readAzurite } from './supervisor/azurite.js';
import { tellFailure } from './tell-failure.js';

const secondsDefault = 10;

await new Command('boot')
  .description('boot copies of the disks of a failed-over VM in QEMU, and keep what it says and shows')
  .requiredOption('--vm <name>', 'the VM in the local cloud: its name after the failover')
  .option('--data <folder>', 'the data folder of "npm start", which must be running', '.understudy')
  .option('--out <folder>', 'where disks, console.txt and screen.png go', 'boot')
  .option('--seconds <number>', 'how long it may run before it is looked at', Number, secondsDefault)
  .action(async ({ vm, data, out, seconds }: { vm: string; data: string; out: string; seconds: number }) => {
    const inventory = openLocalAzure(join(data, 'azure.json'));
    const replicas = await openReplicaStore({ inventory });
    const { connectionString } = await readAzurite(data);
    const records = openTableStateTable({ connectionString, tableName: localVmsTableName });
    const compute = openLocalCompute({ inventory, replicas, records });
    const group = `/subscriptions/${localSubscriptionId}/resourceGroups/${localResourceGroup}`;
    const vmArmId = `${group}/providers/Microsoft.Compute/virtualMachines/${vm}`;
    const { console: text, screenshot } = await bootVm({ compute, replicas }, vmArmId, { folder: out, seconds });
    await writeFile(join(out, 'console.txt'), text, 'latin1');
    await writeFile(join(out, 'screen.png'), screenshot);
    console.log(text === '' ? '(nothing on the serial console)' : text);
    console.log(`disks, console.txt and screen.png are in ${out}`);
  })
  .parseAsync()
  .catch(tellFailure);
