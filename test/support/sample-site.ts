import type { SiteVm } from '../../core/domain/site/inventory.js';
import { sampleDisk, sampleItem } from './sample-item.js';

/** The source VM of the sample item, as its site reports it. */
export const sampleVm = (changes: Partial<SiteVm> = {}, diskCount = 2, sizeBytes = 128 * 1024): SiteVm => ({
  vmId: sampleItem().vmId,
  name: 'sql-01',
  cloudId: sampleItem().containerName,
  hostId: '40570000-0000-4000-8000-000000000001',
  generation: 1,
  osType: 'Windows',
  osName: 'Windows Server 2022',
  architecture: 'x64',
  powerState: 'running',
  secureBoot: false,
  hasFibreChannelAdapter: false,
  cpuCount: 2,
  memoryMegabytes: 4096,
  disks: Array.from({ length: diskCount }, (_, index) => ({
    diskId: sampleDisk(index).diskId,
    name: `disk-${index}.vhdx`,
    sizeBytes,
    format: 'vhdx' as const,
    kind: 'dynamic' as const,
    logicalSectorBytes: 512,
    physicalSectorBytes: 4096,
    shared: false,
    isOsDisk: index === 0,
  })),
  nics: [{ nicId: '41c00000-0000-4000-8000-000000000001', macAddress: '00155D000001', subnetName: 'data' }],
  ...changes,
});
