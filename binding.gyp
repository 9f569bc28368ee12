# What node-gyp wants here; npm packages leave it out, since Yarn would compile at every install where it lies (scripts/build-native.mjs).
{ "includes": ["native/lmhead.gypi"] }
