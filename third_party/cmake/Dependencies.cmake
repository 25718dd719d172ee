# Target drop_dependencies: everything that the library links against. Used by the build itself and,
# from an installed copy, by find_package(drop).

find_package(yaml-cpp REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(CURL REQUIRED)
# CMake's own module for HDF5 compiles C programs, which a C++-only project cannot
find_path(HDF5_INCLUDE hdf5.h PATH_SUFFIXES hdf5/serial REQUIRED)
find_library(HDF5_LIBRARY NAMES hdf5_serial hdf5 REQUIRED)
find_library(ISAL_LIBRARY isal REQUIRED)
find_library(NANOPB_LIBRARY protobuf-nanopb REQUIRED)
mark_as_advanced(HDF5_INCLUDE HDF5_LIBRARY ISAL_LIBRARY NANOPB_LIBRARY)

add_library(drop_dependencies INTERFACE)
target_include_directories(drop_dependencies SYSTEM INTERFACE "${HDF5_INCLUDE}")
target_link_libraries(drop_dependencies INTERFACE
  drop_torch drop_mujoco yaml-cpp spdlog::spdlog nlohmann_json::nlohmann_json OpenSSL::Crypto CURL::libcurl
  "${HDF5_LIBRARY}" "${ISAL_LIBRARY}" "${NANOPB_LIBRARY}" ${CMAKE_DL_LIBS})
