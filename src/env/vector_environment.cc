#include "drop/env/vector_environment.h"

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>

#include "drop/base/error.h"
#include "drop/base/system_report.h"

namespace drop {

namespace {

// looks that a thread takes before it sleeps: the next round of fast tasks comes within
// microseconds, a network's answer does not
constexpr int kLooks = 50;

// threads that wait for rounds of work; the calling thread works with them
class Team {
 public:
  explicit Team(int64_t size) {
    try {
      for (int64_t part = 1; part < size; ++part) {
        helpers_.emplace_back([this, part](const std::stop_token& stop) { help(stop, part); });
      }
    } catch (const std::system_error& error) {
      throw RunError("cannot start " + std::to_string(size) + " threads (" + error.what() +
                     "); ask for fewer");
    }
  }

  int64_t size() const { return static_cast<int64_t>(helpers_.size()) + 1; }

  // job(0) ... job(size - 1), each on its own thread; the job must not throw
  void run(const std::function<void(int64_t part)>& job) {
    {
      const std::lock_guard lock(mutex_);
      job_ = &job;
      std::fegetenv(&arithmetic_);
      busy_ = size() - 1;
      ++round_;
    }
    begin_.notify_all();
    job(0);
    look_until([&] { return busy_ == 0; });
    std::unique_lock lock(mutex_);
    end_.wait(lock, [&] { return busy_ == 0; });
  }

 private:
  void help(const std::stop_token& stop, int64_t part) {
    for (uint64_t seen = 0;; ++seen) {
      look_until([&] { return round_ != seen; });
      {
        std::unique_lock lock(mutex_);
        if (!begin_.wait(lock, stop, [&] { return round_ != seen; })) return;
      }
      // the caller's rounding and denormals: a result must not depend on its thread
      std::fesetenv(&arithmetic_);
      (*job_)(part);
      const std::lock_guard lock(mutex_);
      if (--busy_ == 0) end_.notify_one();
    }
  }

  static void look_until(const auto& done) {
    for (int look = 0; look < kLooks && !done(); ++look) std::this_thread::yield();
  }

  std::mutex mutex_;
  std::condition_variable_any begin_;
  std::condition_variable end_;
  const std::function<void(int64_t)>* job_ = nullptr;
  std::fenv_t arithmetic_{};
  std::atomic<uint64_t> round_ = 0;
  std::atomic<int64_t> busy_ = 0;      // helpers that have not finished the round
  std::vector<std::jthread> helpers_;  // last: they stop before the rest goes
};

}  // namespace

struct VectorEnvironment::Impl {
  std::vector<std::unique_ptr<Environment>> environments;
  std::vector<uint64_t> last_step;  // of each environment: the step that it was last named in
  uint64_t steps = 0;
  std::unique_ptr<Team> team;

  const TaskInfo& info() const { return environments.front()->info(); }

  [[noreturn]] void refuse(const std::string& what, int64_t found,
                           const std::string& allowed) const {
    throw RunError(info().name + ": vectorised stepping: " + what + ": found " +
                   std::to_string(found) + ", allowed: " + allowed);
  }

  Environment& at(int64_t index) const {
    const auto count = static_cast<int64_t>(environments.size());
    if (index < 0 || index >= count) {
      refuse("number of an environment", index, "0 to " + std::to_string(count - 1));
    }
    return *environments[static_cast<size_t>(index)];
  }

  void require_size(const char* what, size_t found, size_t allowed) const {
    if (found == allowed) return;
    refuse("size of " + std::string(what), static_cast<int64_t>(found), std::to_string(allowed));
  }

  // body(0) ... body(count - 1), in one contiguous piece for each thread; then the first error
  void for_each(int64_t count, const std::function<void(int64_t)>& body) {
    const int64_t pieces = std::min(count, team->size());
    std::vector<std::exception_ptr> errors(static_cast<size_t>(pieces));
    const auto run_piece = [&](int64_t piece) {
      if (piece >= pieces) return;
      for (int64_t i = piece * count / pieces; i < (piece + 1) * count / pieces; ++i) {
        try {
          body(i);
        } catch (...) {
          std::exception_ptr& first = errors[static_cast<size_t>(piece)];
          if (!first) first = std::current_exception();
        }
      }
    };
    if (pieces > 1) {
      team->run(run_piece);
    } else {
      run_piece(0);
    }
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
  }
};

VectorEnvironment::VectorEnvironment(const std::string& task, const EnvironmentOptions& options,
                                     int64_t count, int64_t threads)
    : impl_(std::make_unique<Impl>()) {
  if (count < 1) {
    throw UsageError("environments: found " + std::to_string(count) + "; allowed: 1 or more");
  }
  if (threads < 0) {
    throw UsageError("environment threads: found " + std::to_string(threads) +
                     "; allowed: 0 (all cores) or more");
  }
  for (int64_t i = 0; i < count; ++i) {
    impl_->environments.push_back(EnvironmentRegistry::instance().make(task, options));
  }
  impl_->last_step.assign(static_cast<size_t>(count), 0);
  impl_->team = std::make_unique<Team>(std::min(count, threads > 0 ? threads : available_cores()));
}

VectorEnvironment::~VectorEnvironment() = default;

const TaskInfo& VectorEnvironment::info() const { return impl_->info(); }

int64_t VectorEnvironment::size() const { return static_cast<int64_t>(impl_->environments.size()); }

int64_t VectorEnvironment::threads() const { return impl_->team->size(); }

Environment& VectorEnvironment::operator[](int64_t index) { return impl_->at(index); }

const Environment& VectorEnvironment::operator[](int64_t index) const { return impl_->at(index); }

void VectorEnvironment::reset(uint64_t seed, std::span<double> observations) {
  const auto width = static_cast<size_t>(info().state_dim);
  impl_->require_size("observations", observations.size(), impl_->environments.size() * width);
  impl_->for_each(size(), [&](int64_t i) {
    RandomStream stream(seed, "env", static_cast<uint64_t>(i));
    impl_->at(i).reset(stream, observations.subspan(static_cast<size_t>(i) * width, width));
  });
}

void VectorEnvironment::step(std::span<const int64_t> which, std::span<const double> actions,
                             std::span<double> observations, std::span<StepResult> results) {
  // all is checked before anything moves
  const auto state_dim = static_cast<size_t>(info().state_dim);
  const auto action_dim = static_cast<size_t>(info().action_dim);
  impl_->require_size("actions", actions.size(), which.size() * action_dim);
  impl_->require_size("observations", observations.size(), which.size() * state_dim);
  impl_->require_size("results", results.size(), which.size());
  ++impl_->steps;
  for (const int64_t index : which) {
    impl_->at(index);
    uint64_t& last = impl_->last_step[static_cast<size_t>(index)];
    if (last == impl_->steps) {
      impl_->refuse("number of an environment", index, "each at most once in one step");
    }
    last = impl_->steps;
  }

  impl_->for_each(static_cast<int64_t>(which.size()), [&](int64_t i) {
    const auto k = static_cast<size_t>(i);
    results[k] = impl_->at(which[k]).step(actions.subspan(k * action_dim, action_dim),
                                          observations.subspan(k * state_dim, state_dim));
  });
}

}  // namespace drop
