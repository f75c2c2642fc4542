#!/usr/bin/env node
import '../dist/run/credmon-broker.js';
