// What the queue runs, and lists of it that need no memory of their own: so nothing that the queue does with a task can fail.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "gate.h"

namespace lmhead {

class Task;

// A task's time to compute. It gives way as a gate does, and may be shared with others that wait.
class Turn : public Gate {
 public:
  // Another task to run along with those that it has, or null. It has started then, and is there until it is done.
  virtual Task* join() = 0;
  // Whether tasks have come since nobody joined that may want to: a hint. On any thread.
  virtual bool has_news() const = 0;
  // That task has run. It is finished, and may be gone.
  virtual void done(Task& task) = 0;
};

class Task {
 public:
  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task() = default;

  // On a thread of the queue's. Those that joined are done before it returns, and perhaps this one.
  virtual void run(Turn& turn) = 0;
  // What comes after: `self` is this task. Before the next one of its head queue starts.
  virtual void finish(std::unique_ptr<Task> self) = 0;
  // Instead of both, on the pushing thread, where the system grants no thread to run it on.
  virtual void refuse(std::unique_ptr<Task> self) = 0;

  // How much of a turn that is shared it takes; no rows: it has a turn of its own.
  struct Share {
    size_t rows = 0, bytes = 0;
  };
  virtual Share share() const = 0;

  // Whom it is for. See TaskQueue::stop.
  virtual const void* owner() const = 0;
  // False: it need not start. May become false at any time.
  virtual bool is_wanted() const = 0;
  // Makes a running task end soon.
  virtual void cancel() = 0;

 private:
  friend class TaskList;
  class TaskList* list_ = nullptr;  // that it is in
  Task *previous_ = nullptr, *next_ = nullptr;
};

// Owns its tasks, each of which is in one list at a time.
class TaskList {
 public:
  TaskList() = default;
  TaskList(TaskList&& other) noexcept {
    while (std::unique_ptr<Task> task = other.remove_first()) push_back(std::move(task));
  }
  TaskList& operator=(TaskList&&) = delete;
  ~TaskList() {
    while (remove_first()) {
    }
  }

  bool empty() const { return !first_; }
  Task* first() const { return first_; }
  bool has(const Task& task) const { return task.list_ == this; }

  void push_back(std::unique_ptr<Task> task) {
    Task* const added = task.release();
    added->list_ = this;
    added->previous_ = last_;
    added->next_ = nullptr;
    (last_ ? last_->next_ : first_) = added;
    last_ = added;
  }
  std::unique_ptr<Task> remove(Task& task) {  // it has it
    (task.previous_ ? task.previous_->next_ : first_) = task.next_;
    (task.next_ ? task.next_->previous_ : last_) = task.previous_;
    task.list_ = nullptr;
    return std::unique_ptr<Task>(&task);
  }
  std::unique_ptr<Task> remove_first() { return first_ ? remove(*first_) : nullptr; }

  template <class Use>
  void each(Use use) const {
    for (Task* task = first_; task; task = task->next_) use(*task);
  }

 private:
  Task* first_ = nullptr;
  Task* last_ = nullptr;
};

}  // namespace lmhead
