import * as df from 'durable-functions';
import { activityRegistrations } from '../activities/registration.js';
import { workflows } from '../orchestrators/registration.js';
import { registerActivities } from './activity-registration.js';
import { compose } from './composition.js';
import { registerDoors } from './doors.js';
import { readSettings } from './settings.js';

/** The app's entry: reads the settings, builds the providers and registers every function. A wrong setting stops the start. */
const { app, activities } = await compose(readSettings(process.env));

for (const { name, handler } of workflows) df.app.orchestration(name, handler);
registerActivities(app, activityRegistrations(activities));
registerDoors(app);
