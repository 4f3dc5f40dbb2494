// The self-test of this package, with Node alone.

import "./check/positions.js";
import "./check/writer.js";
import "./check/reader.js";
import "./check/traces.js";
import "./check/provider.js";
