# Target drop_mujoco: headers and library of the pinned Python wheel.

set(MUJOCO_ROOT "${site_packages}/mujoco")
set(MUJOCO_LIBRARY "${MUJOCO_ROOT}/libmujoco.so.${MUJOCO_VERSION}")
if(NOT EXISTS "${MUJOCO_LIBRARY}")
  message(FATAL_ERROR "No ${MUJOCO_LIBRARY}. This project is pinned to MuJoCo ${MUJOCO_VERSION}. "
          "Cure: run ./scripts/setup.sh again.")
endif()
add_library(drop_mujoco INTERFACE)
target_include_directories(drop_mujoco SYSTEM INTERFACE "${MUJOCO_ROOT}/include")
target_link_libraries(drop_mujoco INTERFACE "${MUJOCO_LIBRARY}")
target_link_options(drop_mujoco INTERFACE "-Wl,-rpath,${MUJOCO_ROOT}")
