// The pool's threads outlive a worker that loaded the addon, and its code has to be there for them. On ELF systems the linker
// says so (-z nodelete); elsewhere the addon asks the system.
#pragma once

namespace lmhead {

void keep_loaded();

}  // namespace lmhead
