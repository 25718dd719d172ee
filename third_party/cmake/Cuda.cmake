# Option DROP_COMPILE_CUDA: compile the CUDA sources (into drop_cuda_objects), on by default where
# nvcc is. Target drop_cuda_headers: the CUDA toolkit's headers. The libraries that the CUDA form
# links are LibTorch's (TorchWheel.cmake).

string(REGEX MATCH "^[0-9]+\\.[0-9]+" CUDA_VERSION "${NVIDIA_CUDA_RUNTIME_VERSION}")

find_program(DROP_NVCC nvcc HINTS /usr/local/cuda/bin ENV CUDA_HOME PATH_SUFFIXES bin)
mark_as_advanced(DROP_NVCC)
# another toolkit than LibTorch's is no reason not to build the CPU form
set(nvcc_fits OFF)
if(DROP_NVCC)
  execute_process(COMMAND "${DROP_NVCC}" --version OUTPUT_VARIABLE nvcc_text ERROR_QUIET)
  if(nvcc_text MATCHES "release ${CUDA_VERSION},")
    set(nvcc_fits ON)
  else()
    message(STATUS "nvcc is not of CUDA ${CUDA_VERSION}, LibTorch's: the CUDA sources are left out")
  endif()
endif()
option(DROP_COMPILE_CUDA "Compile the CUDA sources, also where they are not linked" ${nvcc_fits})

if(DROP_CUDA AND NOT (DROP_COMPILE_CUDA AND DROP_NVCC))
  message(FATAL_ERROR "DROP_CUDA needs the CUDA compiler nvcc ${CUDA_VERSION}, which is not on the PATH. "
          "Cure: install the CUDA toolkit ${CUDA_VERSION}, or build the preset release.")
endif()

if(DROP_COMPILE_CUDA)
  # these before the compiler is looked at: CMake's own defaults are too old for it
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES "80-real;90-real;100" CACHE STRING "GPU generations to compile for")
  endif()
  set(CMAKE_CUDA_COMPILER "${DROP_NVCC}" CACHE FILEPATH "CUDA compiler")
  # the runtime is the one that LibTorch brings
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)
  enable_language(CUDA)
  # CMake 3.25 does not know yet how this compiler takes C++20
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  if(NOT CMAKE_CUDA_COMPILER_VERSION MATCHES "^${CUDA_VERSION}\\.")
    message(FATAL_ERROR "nvcc: found ${CMAKE_CUDA_COMPILER_VERSION}, LibTorch ${TORCH_VERSION} is built with CUDA "
            "${CUDA_VERSION}. Cure: install that toolkit, or configure with -DDROP_COMPILE_CUDA=OFF.")
  endif()
  if(CMAKE_CXX_COMPILER_LAUNCHER AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER "${CMAKE_CXX_COMPILER_LAUNCHER}")
  endif()

  add_library(drop_cuda_headers INTERFACE)
  target_include_directories(drop_cuda_headers SYSTEM INTERFACE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
endif()
