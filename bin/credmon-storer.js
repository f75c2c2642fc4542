#!/usr/bin/env node
import '../dist/run/credmon-storer.js';
