// How a long pass lets others go first.
#pragma once

namespace lmhead {

class Gate {
 public:
  virtual ~Gate() = default;
  // Should the pass give way? Asked before every chunk, by any of the pass's threads.
  virtual bool wanted() const = 0;
  // Returns when the pass may go on. Called by the pass's first thread while the others are not at work.
  virtual void yield_turn() = 0;
};

}  // namespace lmhead
