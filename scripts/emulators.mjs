// What this machine's CPU has not, and CPUs that it can stand in for, with qemu-user (Debian: qemu-user, and
// g++-aarch64-linux-gnu for its libraries). An emulated process must not fork: its child would run on the real CPU.
import { existsSync, readFileSync } from 'node:fs';

/** False where it is known that this CPU has no AVX-512: sanitized kernels for it would be compiled, slowly, and not run. */
export const mayHaveAvx512 =
  !existsSync('/proc/cpuinfo') || /\bavx512f\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));

/** A command line that runs a program compiled for another CPU, by the name of its toolchain file in native/toolchains/. */
export const emulatorOf = {
  'linux-arm64': ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'],
};

/** The same on an older ARM than the emulator's own choice, which has every extension. */
export const olderArm = cpu => {
  const [emulator, ...options] = emulatorOf['linux-arm64'];
  return [emulator, '-cpu', cpu, ...options];
};

/** The same for this machine's own programs, on an older x86 CPU. */
export const olderX86 = cpu => ['qemu-x86_64', '-cpu', cpu];
