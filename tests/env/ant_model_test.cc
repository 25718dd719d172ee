#include "env/ant_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "env/mujoco_simulation.h"

namespace drop {
namespace {

MujocoModel compile(const AntVariant& variant, Physics physics, const std::string& scenery = "") {
  return compile_mjcf(ant_mjcf(variant, physics, scenery), "ant");
}

std::string name_of(const mjModel& model, mjtObj kind, int id) {
  const char* name = mj_id2name(&model, kind, id);
  return name == nullptr ? "" : name;
}

TEST(AntModel, WhatBothAntsShare) {
  for (const AntVariant& variant : {kGymAnt, kMazeAnt}) {
    const MujocoModel model = compile(variant, Physics::kD4rl);
    EXPECT_EQ(model->nq, 15);
    EXPECT_EQ(model->nv, 14);
    EXPECT_EQ(model->nu, 8);
    EXPECT_EQ(model->nbody, 14);
    EXPECT_EQ(model->ngeom, 14);
    EXPECT_EQ(model->opt.integrator, mjINT_RK4);
    EXPECT_EQ(model->opt.gravity[2], -9.81);
    EXPECT_EQ(model->opt.cone, mjCONE_PYRAMIDAL);
    EXPECT_EQ(name_of(*model, mjOBJ_BODY, 1), "torso");
    const std::array<double, 15> upright = {0, 0, 0.75, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    for (size_t i = 0; i < 15; ++i) EXPECT_EQ(model->qpos0[i], upright[i]);

    // D4RL facts, section 1.6: hips and ankles by leg, in degrees
    const std::array<std::array<double, 2>, 4> ankles = {
        {{30, 70}, {-70, -30}, {-70, -30}, {30, 70}}};
    const std::array<std::array<double, 2>, 4> directions = {{{1, 1}, {-1, 1}, {-1, -1}, {1, -1}}};
    ASSERT_EQ(model->njnt, 9);
    for (int leg = 0; leg < 4; ++leg) {
      const auto [sx, sy] = directions[static_cast<size_t>(leg)];
      const int hip = 1 + 2 * leg;
      EXPECT_EQ(name_of(*model, mjOBJ_JOINT, hip), "hip_" + std::to_string(leg + 1));
      EXPECT_EQ(name_of(*model, mjOBJ_JOINT, hip + 1), "ankle_" + std::to_string(leg + 1));
      for (int joint = hip; joint < hip + 2; ++joint) {
        const mjtNum* place = model->body_pos + 3 * model->jnt_bodyid[joint];
        EXPECT_EQ(place[0], 0.2 * sx);
        EXPECT_EQ(place[1], 0.2 * sy);
        EXPECT_EQ(model->jnt_limited[joint], 1);
        EXPECT_EQ(model->dof_armature[model->jnt_dofadr[joint]], 1.0);
        EXPECT_EQ(model->dof_damping[model->jnt_dofadr[joint]], 1.0);
      }
      const double degree = std::acos(-1.0) / 180.0;
      EXPECT_NEAR(model->jnt_range[2 * hip], -30 * degree, 1e-15);
      EXPECT_NEAR(model->jnt_range[2 * hip + 1], 30 * degree, 1e-15);
      EXPECT_EQ(model->jnt_axis[3 * hip + 2], 1.0);
      for (int side = 0; side < 2; ++side) {
        EXPECT_NEAR(model->jnt_range[2 * (hip + 1) + side],
                    ankles[static_cast<size_t>(leg)][static_cast<size_t>(side)] * degree, 1e-15);
      }
      // the axis lies across the leg: (-1, 1, 0) or (1, 1, 0)
      const mjtNum* axis = model->jnt_axis + 3 * (hip + 1);
      EXPECT_NEAR(axis[0], (sx == sy ? -1 : 1) * std::sqrt(0.5), 1e-15);
      EXPECT_NEAR(axis[1], std::sqrt(0.5), 1e-15);
    }
    // the free joint has neither armature nor damping
    for (int dof = 0; dof < 6; ++dof) {
      EXPECT_EQ(model->dof_armature[dof], 0.0);
      EXPECT_EQ(model->dof_damping[dof], 0.0);
    }
    const std::array<std::string, 8> motors = {"hip_4", "ankle_4", "hip_1", "ankle_1",
                                               "hip_2", "ankle_2", "hip_3", "ankle_3"};
    for (int motor = 0; motor < 8; ++motor) {
      EXPECT_EQ(name_of(*model, mjOBJ_JOINT, model->actuator_trnid[2 * motor]),
                motors[static_cast<size_t>(motor)]);
    }
    // the ant touches the floor and not itself
    for (int geom = 0; geom < model->ngeom; ++geom) {
      EXPECT_EQ(model->geom_conaffinity[geom], model->geom_bodyid[geom] == 0 ? 1 : 0);
      EXPECT_EQ(model->geom_contype[geom], 1);
      EXPECT_EQ(model->geom_condim[geom], 3);
      EXPECT_EQ(model->geom_margin[geom], 0.01);
      EXPECT_EQ(model->geom_friction[3 * geom], 1.0);
      EXPECT_EQ(model->geom_friction[3 * geom + 1], 0.5);
    }
  }
}

TEST(AntModel, WhatDistinguishesTheTwoAnts) {
  struct Expected {
    AntVariant variant;
    double timestep, gear, limit;
    std::array<double, 3> solimp;
  };
  for (const Expected& e : {Expected{kGymAnt, 0.01, 150.0, 1.0, {0.9, 0.95, 0.001}},
                            Expected{kMazeAnt, 0.02, 1.0, 30.0, {0.8, 0.8, 0.01}}}) {
    const MujocoModel model = compile(e.variant, Physics::kModern);
    EXPECT_EQ(model->opt.timestep, e.timestep);
    for (int motor = 0; motor < 8; ++motor) {
      EXPECT_EQ(model->actuator_gear[6 * motor], e.gear);
      EXPECT_EQ(model->actuator_ctrllimited[motor], 1);
      EXPECT_EQ(model->actuator_ctrlrange[2 * motor], -e.limit);
      EXPECT_EQ(model->actuator_ctrlrange[2 * motor + 1], e.limit);
    }
    for (int geom = 0; geom < model->ngeom; ++geom) {
      for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(model->geom_solimp[mjNIMP * geom + i], e.solimp[static_cast<size_t>(i)]);
      }
      EXPECT_EQ(model->geom_solref[mjNREF * geom], 0.02);
    }
  }
}

TEST(AntModel, BodyMassesAndInertias) {
  struct Published {
    double mass, transverse, axial;
  };
  // D4RL facts, table 1.7: leg root and aux, lower leg; the sphere is the same in both engines
  const std::array<Published, 2> old_engine = {
      {{0.03647693, 0.00045856, 0.00011673}, {0.06491138, 0.00235904, 0.00020772}}};
  const std::array<Published, 2> new_engine = {
      {{0.03915775, 0.00056797, 0.00011844}, {0.06759220, 0.00267479, 0.00020943}}};
  for (const AntVariant& variant : {kGymAnt, kMazeAnt}) {
    for (const Physics physics : {Physics::kD4rl, Physics::kModern}) {
      const MujocoModel model = compile(variant, physics);
      const auto& published = physics == Physics::kD4rl ? old_engine : new_engine;
      EXPECT_NEAR(model->body_mass[1], 0.32724923, 6e-9);
      for (int i = 0; i < 3; ++i) EXPECT_NEAR(model->body_inertia[3 + i], 0.00818123, 6e-9);

      double total = model->body_mass[1];
      for (int body = 2; body < 14; ++body) {
        const bool is_lower_leg = (body - 2) % 3 == 2;
        const Published& p = published[is_lower_leg ? 1 : 0];
        const double reach = is_lower_leg ? 0.4 : 0.2;
        const int leg = (body - 2) / 3;
        const double sx = leg == 0 || leg == 3 ? 1.0 : -1.0;
        const double sy = leg < 2 ? 1.0 : -1.0;

        // the body's inertia matrix: the axial moment along (sx, sy, 0), the same across
        std::array<mjtNum, 9> frame{};
        mju_quat2Mat(frame.data(), model->body_iquat + 4 * body);
        for (size_t row = 0; row < 3; ++row) {
          for (size_t column = 0; column < 3; ++column) {
            double found = 0.0;
            for (size_t k = 0; k < 3; ++k) {
              found += frame[3 * row + k] * frame[3 * column + k] *
                       model->body_inertia[3 * static_cast<size_t>(body) + k];
            }
            double expected = row == column ? p.transverse : 0.0;
            if (row < 2 && column < 2) {
              expected += (p.axial - p.transverse) / 2.0 * (row == column ? 1.0 : sx * sy);
            }
            EXPECT_NEAR(found, expected, 1e-8) << body << " " << row << " " << column;
          }
        }
        EXPECT_NEAR(model->body_mass[body], p.mass, 6e-9) << body;
        EXPECT_NEAR(model->body_ipos[3 * body], sx * reach / 2.0, 1e-15) << body;
        EXPECT_NEAR(model->body_ipos[3 * body + 1], sy * reach / 2.0, 1e-15) << body;
        EXPECT_EQ(model->body_ipos[3 * body + 2], 0.0) << body;
        total += model->body_mass[body];
      }
      EXPECT_NEAR(total, physics == Physics::kD4rl ? 0.87871017 : 0.91088008, 1e-8);
    }
  }
}

TEST(AntModel, SceneryTakesTheDefaults) {
  const MujocoModel model =
      compile(kMazeAnt, Physics::kD4rl, "<geom type=\"box\" pos=\"5 0 1\" size=\"2 2 1\"/>");
  ASSERT_EQ(model->ngeom, 15);
  EXPECT_EQ(model->geom_type[1], mjGEOM_BOX);
  EXPECT_EQ(model->geom_margin[1], 0.01);
  EXPECT_EQ(model->geom_solimp[mjNIMP], 0.8);
}

TEST(AntModel, StartsNearTheUprightState) {
  for (const Physics physics : {Physics::kD4rl, Physics::kModern}) {
    RandomStream rng(0, "env");
    std::array<double, 15> lowest{};
    std::array<double, 15> highest{};
    double squares = 0.0;
    double largest_norm_error = 0.0;
    constexpr int kStarts = 2000;
    for (int n = 0; n < kStarts; ++n) {
      std::array<double, 15> qpos = {0, 0, 0.75, 1};
      std::array<double, 14> qvel{};
      draw_ant_start(rng, physics, qpos, qvel);
      for (const double v : qvel) squares += v * v;
      largest_norm_error =
          std::max(largest_norm_error,
                   std::abs(std::hypot(qpos[3], std::hypot(qpos[4], qpos[5], qpos[6])) - 1.0));
      qpos[2] -= 0.75;
      for (size_t i = 0; i < 15; ++i) {
        lowest[i] = std::min(lowest[i], qpos[i]);
        highest[i] = std::max(highest[i], qpos[i]);
      }
    }
    for (size_t i = 0; i < 15; ++i) {
      if (i >= 3 && i < 7) continue;
      EXPECT_NEAR(lowest[i], -0.0999, 2e-3) << i;
      EXPECT_NEAR(highest[i], 0.0999, 2e-3) << i;
      EXPECT_GE(lowest[i], -0.1) << i;
      EXPECT_LE(highest[i], 0.1) << i;
    }
    EXPECT_NEAR(squares / (14 * kStarts), 0.01, 4e-4);
    // the old engine's first observation holds a unit quaternion, today's the noisy one
    if (physics == Physics::kD4rl) {
      EXPECT_LT(largest_norm_error, 1e-15);
    } else {
      EXPECT_GT(largest_norm_error, 0.09);
      EXPECT_NEAR(highest[3], 1.1, 2e-3);
    }
  }
}

}  // namespace
}  // namespace drop
