import { failureToError } from '../core/domain/workflows/failure.js';
import type { Activity, ActivityDependencies } from './activity.js';
import { makeApplyCycleSlices, makeApplySegments } from './apply.js';
import { makeCommitDigests, makeDigestRegion, makeReadDigestWork } from './digest.js';
import { makeBeginPointChange, makeCopyChangedDisk, makeDropPointChange, makeSwitchPoint } from './change-point.js';
import { makeCheckCommit, makeDropReplicationLeftovers } from './commit.js';
import {
  makeAdoptRenewedReplica,
  makeBeginReplicaRenewal,
  makeBeginReverseReplication,
  makeCheckFailbackCommit,
  makeCheckReverseReplication,
  makeCopyRenewedDisk,
  makeDeleteFailedOverVm,
} from './commit-failback.js';
import { activities } from './contract.js';
import { makeDropReplica, makeStopReplication } from './disable.js';
import {
  makeConfigureTargetNetwork,
  makeCreateReplicaDisks,
  makeIdentifyTarget,
  makeReadInitialReplicationStart,
  makeStartInitialReplication,
  makeUndoEnableProtection,
} from './enable.js';
import {
  makeBeginFailback,
  makeBeginFailbackRound,
  makeCheckFailback,
  makeGiveBackFailback,
  makeHandOver,
  makeOrderReplacement,
  makeReadCompletion,
  makeReadFailback,
  makeReadSiteStart,
  makeStopFailedOverVm,
  makeSuspendFailback,
} from './failback.js';
import { makeCopyFailoverDisk, makeCreateFailoverVm, makeStartFailoverVm } from './failover-vm.js';
import {
  makeBeginFailover,
  makeCheckFailover,
  makeChooseRecoveryPoint,
  makeReadReceived,
  makeUndoFailover,
} from './failover.js';
import { makeConcludeJob, makeStartJobTask, makeWarnInJob } from './jobs.js';
import {
  makeCheckPlannedFailover,
  makeGiveBackPlannedFailover,
  makeLockSource,
  makeReadFinalCycle,
} from './planned-failover.js';
import {
  makeAwaitCleanUp,
  makeCheckTestFailover,
  makeChooseTestPoint,
  makeCleanUpTest,
  makeCopyTestDisk,
  makeGiveUpCleanUp,
  makeStartTestVm,
  makeTakeBackTest,
} from './test-failover.js';
import { makeEvaluatePrerequisites } from './prerequisites.js';
import {
  makeSuspendForOperator,
  makeBeginPlanItem,
  makeCallRunbook,
  makeConcludePlan,
  makeReadPlanCancel,
  makeSendScript,
} from './recovery-plan.js';
import { makeApplyRetention, makeCleanUpTransferred, makeSealRecoveryPoint } from './recovery-points.js';
import { makeDropRelayCommand, makeReadCommandResult, makeSendRelayCommand } from './relay-commands.js';
import {
  makeAbandonResynchronization,
  makeBeginResynchronization,
  makeDropSuperseded,
  makeFinishResynchronization,
  makeReadResynchronization,
} from './resynchronize.js';
import {
  makeCommitAppliedCycle,
  makeCommitSegments,
  makeFinishInitialReplication,
  makeRaiseFence,
  makeReadReplicationWork,
  makeRecordReplicationFailure,
} from './replication-work.js';

type Implementations = { [Name in keyof typeof activities]: Activity<(typeof activities)[Name]> };

/** Every activity of the contract over the given ports: a missing one does not compile. */
const implement = (dependencies: ActivityDependencies): Implementations => ({
  startJobTask: makeStartJobTask(dependencies),
  concludeJob: makeConcludeJob(dependencies),
  warnInJob: makeWarnInJob(dependencies),
  evaluatePrerequisites: makeEvaluatePrerequisites(dependencies),
  identifyTarget: makeIdentifyTarget(dependencies),
  createReplicaDisks: makeCreateReplicaDisks(dependencies),
  startInitialReplication: makeStartInitialReplication(dependencies),
  readInitialReplicationStart: makeReadInitialReplicationStart(dependencies),
  undoEnableProtection: makeUndoEnableProtection(dependencies),
  configureTargetNetwork: makeConfigureTargetNetwork(dependencies),
  sendRelayCommand: makeSendRelayCommand(dependencies),
  readCommandResult: makeReadCommandResult(dependencies),
  dropRelayCommand: makeDropRelayCommand(dependencies),
  readReplicationWork: makeReadReplicationWork(dependencies),
  applySegments: makeApplySegments(dependencies),
  commitSegments: makeCommitSegments(dependencies),
  raiseFence: makeRaiseFence(dependencies),
  applyCycleSlices: makeApplyCycleSlices(dependencies),
  commitAppliedCycle: makeCommitAppliedCycle(dependencies),
  sealRecoveryPoint: makeSealRecoveryPoint(dependencies),
  cleanUpTransferred: makeCleanUpTransferred(dependencies),
  applyRetention: makeApplyRetention(dependencies),
  finishInitialReplication: makeFinishInitialReplication(dependencies),
  recordReplicationFailure: makeRecordReplicationFailure(dependencies),
  beginResynchronization: makeBeginResynchronization(dependencies),
  dropSuperseded: makeDropSuperseded(dependencies),
  readResynchronization: makeReadResynchronization(dependencies),
  readDigestWork: makeReadDigestWork(dependencies),
  digestRegion: makeDigestRegion(dependencies),
  commitDigests: makeCommitDigests(dependencies),
  finishResynchronization: makeFinishResynchronization(dependencies),
  abandonResynchronization: makeAbandonResynchronization(dependencies),
  checkPlannedFailover: makeCheckPlannedFailover(dependencies),
  lockSource: makeLockSource(dependencies),
  readFinalCycle: makeReadFinalCycle(dependencies),
  giveBackPlannedFailover: makeGiveBackPlannedFailover(dependencies),
  checkFailover: makeCheckFailover(dependencies),
  readReceived: makeReadReceived(dependencies),
  beginFailover: makeBeginFailover(dependencies),
  chooseRecoveryPoint: makeChooseRecoveryPoint(dependencies),
  copyFailoverDisk: makeCopyFailoverDisk(dependencies),
  createFailoverVm: makeCreateFailoverVm(dependencies),
  startFailoverVm: makeStartFailoverVm(dependencies),
  undoFailover: makeUndoFailover(dependencies),
  beginPointChange: makeBeginPointChange(dependencies),
  copyChangedDisk: makeCopyChangedDisk(dependencies),
  switchPoint: makeSwitchPoint(dependencies),
  dropPointChange: makeDropPointChange(dependencies),
  checkTestFailover: makeCheckTestFailover(dependencies),
  chooseTestPoint: makeChooseTestPoint(dependencies),
  copyTestDisk: makeCopyTestDisk(dependencies),
  startTestVm: makeStartTestVm(dependencies),
  awaitCleanUp: makeAwaitCleanUp(dependencies),
  takeBackTest: makeTakeBackTest(dependencies),
  cleanUpTest: makeCleanUpTest(dependencies),
  giveUpCleanUp: makeGiveUpCleanUp(dependencies),
  checkFailback: makeCheckFailback(dependencies),
  beginFailback: makeBeginFailback(dependencies),
  stopFailedOverVm: makeStopFailedOverVm(dependencies),
  beginFailbackRound: makeBeginFailbackRound(dependencies),
  readFailback: makeReadFailback(dependencies),
  suspendFailback: makeSuspendFailback(dependencies),
  readCompletion: makeReadCompletion(dependencies),
  orderReplacement: makeOrderReplacement(dependencies),
  handOver: makeHandOver(dependencies),
  readSiteStart: makeReadSiteStart(dependencies),
  giveBackFailback: makeGiveBackFailback(dependencies),
  checkFailbackCommit: makeCheckFailbackCommit(dependencies),
  beginReplicaRenewal: makeBeginReplicaRenewal(dependencies),
  copyRenewedDisk: makeCopyRenewedDisk(dependencies),
  adoptRenewedReplica: makeAdoptRenewedReplica(dependencies),
  deleteFailedOverVm: makeDeleteFailedOverVm(dependencies),
  checkReverseReplication: makeCheckReverseReplication(dependencies),
  beginReverseReplication: makeBeginReverseReplication(dependencies),
  beginPlanItem: makeBeginPlanItem(dependencies),
  callRunbook: makeCallRunbook(dependencies),
  sendScript: makeSendScript(dependencies),
  suspendForOperator: makeSuspendForOperator(dependencies),
  readPlanCancel: makeReadPlanCancel(dependencies),
  concludePlan: makeConcludePlan(dependencies),
  stopReplication: makeStopReplication(dependencies),
  dropReplica: makeDropReplica(dependencies),
  checkCommit: makeCheckCommit(dependencies),
  dropReplicationLeftovers: makeDropReplicationLeftovers(dependencies),
});

/** An activity as a Functions app registers it: `handler` takes what the orchestrator gave. */
export interface RegisteredActivity {
  name: string;
  handler: (input: unknown) => Promise<unknown>;
}

/**
 * All activities, ready to register. What one throws leaves with its code, causes and advice in the message's text: only
 * text survives the way back to the orchestrator.
 */
export function activityRegistrations(dependencies: ActivityDependencies): RegisteredActivity[] {
  const implementations = implement(dependencies);
  return Object.entries(implementations).map(([key, implementation]) => ({
    name: activities[key as keyof Implementations].name,
    handler: async (input) => {
      try {
        // The contract types both ends of the call; between them lies JSON.
        return await (implementation as (input: unknown) => Promise<unknown>)(input);
      } catch (error) {
        throw failureToError(error);
      }
    },
  }));
}
