#pragma once

#include <mujoco/mujoco.h>

#include <memory>
#include <span>
#include <string>

namespace drop {

/// Frees what MuJoCo allocated.
struct MujocoDeleter {
  void operator()(mjData* data) const { mj_deleteData(data); }
  void operator()(mjModel* model) const { mj_deleteModel(model); }
  void operator()(mjSpec* spec) const { mj_deleteSpec(spec); }
};

/// A compiled model. It never changes, so environments of one task may share it.
using MujocoModel = std::shared_ptr<const mjModel>;

/// Compiles MJCF text. Environments that live at the same time and have the same text share one
/// model. Throws RunError with MuJoCo's message (an error or a warning alike); `name`
/// stands for the file in it.
MujocoModel compile_mjcf(const std::string& mjcf, const std::string& name);

/// The same from a file, with what it includes (meshes, textures, other MJCF) beside it.
MujocoModel compile_mjcf_file(const std::string& path);

/// A model with its state. MuJoCo's own errors and warnings, an unstable simulation among them,
/// become RunError: nothing is printed, no log file is written and the process never exits. After
/// such an error `set_state` makes the object usable again. Not thread-safe.
class MujocoSimulation {
 public:
  explicit MujocoSimulation(MujocoModel model);

  const mjModel& model() const { return *model_; }
  /// Everything that MuJoCo computed: site and body positions, sensors.
  const mjData& data() const { return *data_; }
  /// Positions [nq] and velocities [nv] as they are now.
  std::span<const double> qpos() const;
  std::span<const double> qvel() const;

  /// mj_resetData, write, mj_forward: everything but the given state is as in a fresh simulation.
  void set_state(std::span<const double> qpos, std::span<const double> qvel);

  /// Clips every velocity to [-limit, limit], calls mj_forward with the old controls, writes the
  /// new ones and calls mj_step once - or what comes to the same bit for bit with the parts of the
  /// work that both calls repeat done once (Euler integrator).
  void step_with_clipped_velocity(std::span<const double> control, double limit);

  /// Writes the controls [nu] once and calls mj_step `count` times.
  void step(std::span<const double> control, int count);

 private:
  void require_no_warning() const;

  MujocoModel model_;
  std::unique_ptr<mjData, MujocoDeleter> data_;
};

}  // namespace drop
