#pragma once

#include <gtest/gtest.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "env/fidelity.h"
#include "env/mujoco_environment.h"

namespace drop::testing {

inline std::unique_ptr<MujocoEnvironment> make_task(const std::string& task,
                                                    Physics physics = Physics::kD4rl) {
  EnvironmentOptions options;
  options.physics = physics;
  std::unique_ptr<Environment> made = EnvironmentRegistry::instance().make(task, options);
  return std::unique_ptr<MujocoEnvironment>(dynamic_cast<MujocoEnvironment*>(made.release()));
}

/// The model that a fidelity file's group holds as MJCF text.
inline MujocoModel recorded_model(const std::string& file, const std::string& group) {
  const hid_t handle = H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t attribute = H5Aopen_by_name(handle, group.c_str(), "mjcf", H5P_DEFAULT, H5P_DEFAULT);
  const hid_t type = H5Aget_type(attribute);
  char* text = nullptr;
  const bool is_read = H5Aread(attribute, type, static_cast<void*>(&text)) >= 0;
  const std::string mjcf = is_read ? text : "";
  H5free_memory(text);
  H5Tclose(type);
  H5Aclose(attribute);
  H5Fclose(handle);
  if (!is_read) throw std::runtime_error(file + ": no text attribute mjcf in " + group);
  return compile_mjcf(mjcf, group);
}

/// The inertia matrix of a body about its centre of mass, in the body's frame (row-major).
inline std::array<double, 9> inertia_matrix(const mjModel& model, int body) {
  std::array<double, 9> frame{};
  mju_quat2Mat(frame.data(), model.body_iquat + 4 * body);
  std::array<double, 9> matrix{};
  for (size_t i = 0; i < 9; ++i) {
    for (size_t k = 0; k < 3; ++k) {
      matrix[i] += frame[3 * (i / 3) + k] * frame[3 * (i % 3) + k] *
                   model.body_inertia[3 * static_cast<size_t>(body) + k];
    }
  }
  return matrix;
}

/// All that decides the motion is the same to a few roundings, however it was written.
inline void expect_same_model(const mjModel& found, const mjModel& expected) {
  constexpr double kRoundings = 5e-15;
  const auto expect_same = [&](const char* what, const mjtNum* a, const mjtNum* b, mjtSize count) {
    const auto n = static_cast<size_t>(count);
    EXPECT_LE(largest_difference({a, n}, {b, n}), kRoundings) << what;
  };
  ASSERT_EQ(found.nbody, expected.nbody);
  ASSERT_EQ(found.njnt, expected.njnt);
  ASSERT_EQ(found.nv, expected.nv);
  ASSERT_EQ(found.ngeom, expected.ngeom);
  ASSERT_EQ(found.nu, expected.nu);
  expect_same("body_mass", found.body_mass, expected.body_mass, found.nbody);
  expect_same("body_ipos", found.body_ipos, expected.body_ipos, 3 * found.nbody);
  expect_same("body_pos", found.body_pos, expected.body_pos, 3 * found.nbody);
  for (int body = 1; body < found.nbody; ++body) {
    EXPECT_LE(largest_difference(inertia_matrix(found, body), inertia_matrix(expected, body)),
              kRoundings)
        << "inertia of body " << body;
  }
  expect_same("qpos0", found.qpos0, expected.qpos0, found.nq);
  expect_same("jnt_axis", found.jnt_axis, expected.jnt_axis, 3 * found.njnt);
  expect_same("jnt_range", found.jnt_range, expected.jnt_range, 2 * found.njnt);
  expect_same("jnt_stiffness", found.jnt_stiffness, expected.jnt_stiffness, found.njnt);
  expect_same("jnt_solref", found.jnt_solref, expected.jnt_solref, mjNREF * found.njnt);
  expect_same("jnt_solimp", found.jnt_solimp, expected.jnt_solimp, mjNIMP * found.njnt);
  expect_same("dof_armature", found.dof_armature, expected.dof_armature, found.nv);
  expect_same("dof_damping", found.dof_damping, expected.dof_damping, found.nv);
  expect_same("geom_size", found.geom_size, expected.geom_size, 3 * found.ngeom);
  expect_same("geom_pos", found.geom_pos, expected.geom_pos, 3 * found.ngeom);
  expect_same("geom_quat", found.geom_quat, expected.geom_quat, 4 * found.ngeom);
  expect_same("geom_friction", found.geom_friction, expected.geom_friction, 3 * found.ngeom);
  expect_same("geom_solref", found.geom_solref, expected.geom_solref, mjNREF * found.ngeom);
  expect_same("geom_solimp", found.geom_solimp, expected.geom_solimp, mjNIMP * found.ngeom);
  expect_same("geom_margin", found.geom_margin, expected.geom_margin, found.ngeom);
  expect_same("actuator_gear", found.actuator_gear, expected.actuator_gear, 6 * found.nu);
  for (int geom = 0; geom < found.ngeom; ++geom) {
    EXPECT_EQ(found.geom_contype[geom], expected.geom_contype[geom]) << geom;
    EXPECT_EQ(found.geom_conaffinity[geom], expected.geom_conaffinity[geom]) << geom;
    EXPECT_EQ(found.geom_condim[geom], expected.geom_condim[geom]) << geom;
  }
  EXPECT_EQ(found.opt.timestep, expected.opt.timestep);
  EXPECT_EQ(found.opt.integrator, expected.opt.integrator);
}

/// Mass and sorted moments of inertia as the D4RL facts print them (table 1.7).
struct PublishedBody {
  double mass;
  std::array<double, 3> moments;  ///< largest first
};

/// @param rounding  half a unit of the last printed digit
inline void expect_published(const mjModel& model, const std::vector<PublishedBody>& bodies,
                             double total, double rounding) {
  ASSERT_EQ(static_cast<size_t>(model.nbody), bodies.size() + 1);
  double sum = 0.0;
  for (size_t k = 0; k < bodies.size(); ++k) {
    std::array<double, 3> moments{};
    std::copy_n(model.body_inertia + 3 * (k + 1), 3, moments.begin());
    std::sort(moments.rbegin(), moments.rend());
    EXPECT_NEAR(model.body_mass[k + 1], bodies[k].mass, rounding) << "body " << k + 1;
    EXPECT_LE(largest_difference(moments, bodies[k].moments), rounding) << "body " << k + 1;
    sum += model.body_mass[k + 1];
  }
  EXPECT_NEAR(sum, total, 1e-8);
}

/// Observations and rewards of single steps from a fidelity file's fresh states.
struct OneStepDeviation {
  double observation = 0.0;
  double reward = 0.0;
  size_t steps = 0;
};

/// The steps that the file itself made from fresh states (`one_step_index`).
inline OneStepDeviation recorded_one_step_deviation(Environment& environment,
                                                    const std::string& file,
                                                    const std::string& group) {
  const auto read = [&](const std::string& name) {
    return read_hdf5_array(file, group + "/" + name).values;
  };
  const std::vector<double> index = read("one_step_index");
  const std::vector<double> qpos = read("qpos");
  const std::vector<double> qvel = read("qvel");
  const std::vector<double> actions = read("actions");
  const std::vector<double> observations = read("one_step_observations");
  const std::vector<double> rewards = read("one_step_rewards");
  const auto row = [](const std::vector<double>& values, size_t t, size_t width) {
    return std::span<const double>(values).subspan(t * width, width);
  };
  OneStepDeviation found;
  std::vector<double> observation(static_cast<size_t>(environment.info().state_dim));
  for (size_t k = 0; k < index.size(); ++k) {
    const auto t = static_cast<size_t>(index[k]);
    environment.set_state(row(qpos, t, environment.qpos().size()),
                          row(qvel, t, environment.qvel().size()), observation);
    const StepResult result = environment.step(
        row(actions, t, static_cast<size_t>(environment.info().action_dim)), observation);
    found.observation =
        std::max(found.observation,
                 largest_difference(observation, row(observations, k, observation.size())));
    found.reward = std::max(found.reward, std::abs(result.reward - rewards[k]));
    ++found.steps;
  }
  return found;
}

/// Returns of the policy that draws every action from U(-1, 1).
inline ReturnStatistics random_policy_returns(const std::string& task, Physics physics,
                                              int episodes) {
  RandomStream starts(0, "env");
  RandomStream actions(0, "actions");
  return return_statistics(*make_task(task, physics), starts, episodes,
                           [&](std::span<const double>, std::span<double> action) {
                             for (double& a : action) a = actions.uniform(-1.0, 1.0);
                           });
}

/// True when two means agree within three standard errors of their difference.
inline bool agrees(const ReturnStatistics& found, double mean, double standard_error) {
  return std::abs(found.mean - mean) <= 3.0 * std::hypot(found.standard_error(), standard_error);
}

}  // namespace drop::testing
