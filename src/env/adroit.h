#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "env/mujoco_environment.h"

namespace drop {

/// A field of the model that belongs to the task's state.
struct AdroitVariable {
  const char* key = nullptr;    ///< as in TaskVariable
  mjtObj type = mjOBJ_UNKNOWN;  ///< a body, or a site
  const char* name = nullptr;   ///< in the model
  bool is_orientation = false;  ///< of a body, as a quaternion [4]; else a position [3]
  bool moves = false;           ///< as in TaskVariable
};

struct AdroitTask {
  const char* name;
  int64_t state_dim;
  int64_t action_dim;
  int64_t max_episode_steps;
  std::vector<AdroitVariable> variables;
};

/// What D4RL's four Adroit tasks (facts, section 4) share: the simulated hand. Actions are spread
/// over the actuators' ranges, a step is 5 simulator steps of 2 ms. Rewards and observations use
/// positions of sites and bodies as mj_step leaves them: one simulator step older than qpos.
///
/// The tasks' variables are fields of the model, of which each object owns a copy. `reset` draws
/// them, `set_task_state` acts at once. `physics: d4rl` turns today's contact rules back to those
/// of the engine that made D4RL's data (docs/adroit_fidelity.md); `modern` takes the models as they
/// are.
class AdroitEnvironment : public MujocoEnvironment {
 public:
  std::vector<double> task_state() const override;
  void set_task_state(std::span<const double> values) override;
  /// From the first row of a recorded episode exactly, from a later one as far as nothing moves: an
  /// observation holds positions that are one simulator step old.
  std::optional<std::vector<double>> task_state_from(std::span<const double> qpos,
                                                     std::span<const double> observation) override;

 protected:
  AdroitEnvironment(const AdroitTask& task, Physics physics);

  /// New values of the task's variables.
  virtual std::vector<double> draw_task_state(RandomStream& rng) const = 0;
  /// What `task_state_from` returns, for spans of the right sizes.
  virtual std::vector<double> observed_task_state(std::span<const double> qpos,
                                                  std::span<const double> observation) const = 0;
  /// Reward and end of the step just taken.
  virtual StepResult judge() const = 0;

  const mjData& data() const { return simulation().data(); }
  /// The task's variables as the model file has them.
  std::span<const double> original_task_state() const { return original_; }
  /// Id of a named part of the model; RunError when there is none.
  int id_of(mjtObj type, const char* name) const;
  const double* site_position(int site) const { return data().site_xpos + 3 * site; }
  const double* body_position(int body) const { return data().xpos + 3 * body; }
  /// Where a site lies when the joints are at `qpos`, the model being as it is.
  std::array<double, 3> site_position_at(int site, std::span<const double> qpos) const;
  /// The only variable of a task, a body's position, for which the site lies where it was observed.
  std::vector<double> moved_task_state(int site, std::span<const double> qpos,
                                       std::span<const double> observed) const;

 private:
  AdroitEnvironment(const AdroitTask& task, std::shared_ptr<mjModel> model);

  void draw_start(RandomStream& rng, std::span<double> qpos, std::span<double> qvel) const override;
  StepResult advance(std::span<const double> action) override;
  void write_variables(std::span<const double> values) const;

  std::vector<std::span<double>> fields_;  // the task's variables in the model
  std::vector<double> original_;
  std::vector<double> control_;
};

/// The folder with the tasks' models: the environment variable DROP_ADROIT_DIR, else the one that
/// scripts/fetch_adroit.sh fills. The models are read when an environment is made; RunError when
/// they are not there.
std::string adroit_folder();

/// Writes vector [size] into an observation from `out` on and returns the place behind it.
std::span<double>::iterator append(std::span<double>::iterator out, const double* values,
                                   int size = 3);
/// The same for a - b [3].
std::span<double>::iterator append_difference(std::span<double>::iterator out, const double* a,
                                              const double* b);

std::unique_ptr<Environment> make_pen(const EnvironmentOptions& options);
std::unique_ptr<Environment> make_hammer(const EnvironmentOptions& options);
std::unique_ptr<Environment> make_door(const EnvironmentOptions& options);
std::unique_ptr<Environment> make_relocate(const EnvironmentOptions& options);

}  // namespace drop
