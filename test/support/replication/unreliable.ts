import type { ActivityDependencies } from '../../../activities/activity.js';

/** Asked at each call of a store: should it fail, and before or after its effect? */
export type FaultAtCall = () => 'beforeEffect' | 'afterEffect' | undefined;

/** The same stores, whose calls fail when the test says so. */
export function unreliable(dependencies: ActivityDependencies, fault: FaultAtCall): ActivityDependencies {
  const wrap = <Store extends object>(store: Store): Store =>
    new Proxy(store, {
      get: (target, property) => {
        const member: unknown = Reflect.get(target, property);
        if (typeof member !== 'function') return member;
        return (...args: unknown[]): unknown => {
          const when = fault();
          if (when === 'beforeEffect') throw new Error(`${String(property)} failed before its effect`);
          const result: unknown = Reflect.apply(member, target, args);
          if (when === undefined || !(result instanceof Promise)) return result;
          return result.then(() => Promise.reject(new Error(`${String(property)} failed after its effect`)));
        };
      },
    });
  return {
    ...dependencies,
    table: wrap(dependencies.table),
    replicas: wrap(dependencies.replicas),
    transfers: wrap(dependencies.transfers),
    compute: wrap(dependencies.compute),
  };
}
