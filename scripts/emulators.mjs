// CPUs that this machine can stand in for, with qemu-user (Debian: qemu-user, and g++-aarch64-linux-gnu for its libraries).
// An emulated process must not fork: its child would run on the real CPU.

/** A command line that runs a program compiled for another CPU, by the name of its toolchain file in native/toolchains/. */
export const emulatorOf = {
  'linux-arm64': ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'],
};

/** The same for this machine's own programs, on an older x86 CPU. */
export const olderX86 = cpu => ['qemu-x86_64', '-cpu', cpu];
