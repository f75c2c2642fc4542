#!/usr/bin/env -S MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=131072 MALLOC_MMAP_THRESHOLD_=32768 node --max-semi-space-size=8
// Memory with very many credentials (system/heap.ts): the C library gives back the pieces of 64 KB that Node reads into, from one heap for
// all threads, and that is more than what room for young objects costs, without which those of requests in flight are taken for old.
import '../dist/run/credmond.js';
