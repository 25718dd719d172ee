# Target drop_dependencies: everything that the library links against.

find_package(yaml-cpp REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(HDF5 REQUIRED COMPONENTS C)
find_library(ISAL_LIBRARY isal REQUIRED)
find_library(NANOPB_LIBRARY protobuf-nanopb REQUIRED)
find_path(NANOPB_INCLUDE pb.h PATH_SUFFIXES nanopb REQUIRED)

add_library(drop_dependencies INTERFACE)
target_include_directories(drop_dependencies INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>)
target_include_directories(drop_dependencies SYSTEM INTERFACE ${HDF5_INCLUDE_DIRS} ${NANOPB_INCLUDE})
target_link_libraries(drop_dependencies INTERFACE
  drop_torch drop_mujoco yaml-cpp spdlog::spdlog nlohmann_json::nlohmann_json OpenSSL::Crypto
  ${HDF5_C_LIBRARIES} ${ISAL_LIBRARY} ${NANOPB_LIBRARY})
