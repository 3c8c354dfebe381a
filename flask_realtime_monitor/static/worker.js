/** The shared worker: it lives as long as any tab of the dashboard does. */

import { Hub } from "./hub.js";

const hub = new Hub();
addEventListener("connect", ({ ports }) => hub.add(ports[0]));
