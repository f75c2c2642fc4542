#!/usr/bin/env node
import '../dist/run/credmond.js';
