import { FaultWorld } from '../support/fault/world.js';
const t0 = process.hrtime.bigint();
const ms = () => Number(process.hrtime.bigint() - t0) / 1e6;
await FaultWorld.run(
  { seed: 1, vmCount: 3, diskMebibytes: 4, replicationIntervalSeconds: 300, guestPauseSeconds: 60 },
  async (world) => {
    console.log('begun', ms());
    await world.protectAll();
    console.log('ordered', ms());
    world.startGuests();
    for (let i = 0; i < 6; i++) {
      await world.advance(1800);
      console.log(ms(), new Date(world.time.now()).toISOString(), (await world.items()).map((i) => [i.vmName, i.state, i.replication.phase, i.replication.receivedCycle, i.replication.appliedCycle, i.replication.lastError?.message, i.replication.resyncRequired?.reason]));
    }
    console.log(world.log.slice(0, 60).join('\n'));
  },
);
