#pragma once

#include <nanobind/nanobind.h>

void bind_layers(nanobind::module_& module);
