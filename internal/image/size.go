package image

import (
	"strconv"
	"strings"
)

const gib = int64(1) << 30

// size is vCPUs and memory of one compute type.
type size struct {
	cpus   float64
	memory int64
}

// Size gives the CPUs and the memory (bytes) of a CodeBuild compute type in an
// environment type, both as a definition writes them; upper and lower case do
// not matter, and small, medium, large, xlarge and 2xlarge alone will do. ok is
// false for names that there are not: then no limit is known.
func Size(computeType, envType string) (cpus float64, memory int64, ok bool) {
	name := normal(computeType)
	if s, ok := lambdaSize(name); ok {
		return s.cpus, s.memory, true
	}
	if s, ok := reservedSize(name); ok {
		return s.cpus, s.memory, true
	}
	for _, p := range []string{"BUILD_GENERAL1_", "BUILD_GENERAL_", "GENERAL1_", "BUILD_ARM1_", "ARM1_", "BUILD_GPU1_", "GPU1_"} {
		rest, found := strings.CutPrefix(name, p)
		if !found {
			continue
		}
		name = rest
		if envType == "" && strings.Contains(p, "ARM1") {
			envType = "ARM_CONTAINER"
		}
		if envType == "" && strings.Contains(p, "GPU1") {
			envType = "LINUX_GPU_CONTAINER"
		}
		break
	}
	s, ok := sizes(normal(envType))[strings.ReplaceAll(name, "X_LARGE", "XLARGE")]
	return s.cpus, s.memory, ok
}

func normal(s string) string {
	s = strings.ToUpper(strings.TrimSpace(s))
	return strings.NewReplacer("-", "_", ".", "_", " ", "_").Replace(s)
}

// sizes are the on-demand types of an environment type (user guide, compute types).
func sizes(envType string) map[string]size {
	small, medium, large := size{2, 4 * gib}, size{4, 8 * gib}, size{8, 16 * gib}
	switch {
	case strings.HasPrefix(envType, "LINUX_GPU"):
		return map[string]size{"SMALL": {4, 16 * gib}, "LARGE": {32, 255 * gib}}
	case envType == "ARM_CONTAINER":
		return map[string]size{"SMALL": small, "MEDIUM": medium, "LARGE": large, "XLARGE": {32, 64 * gib}, "2XLARGE": {48, 96 * gib}}
	case envType == "ARM_EC2", envType == "LINUX_EC2":
		return map[string]size{"SMALL": small, "MEDIUM": medium, "LARGE": large}
	case envType == "WINDOWS_EC2", strings.HasPrefix(envType, "WINDOWS_SERVER_2019"), envType == "WINDOWS_CONTAINER":
		return map[string]size{"MEDIUM": medium, "LARGE": large}
	case strings.HasPrefix(envType, "WINDOWS"):
		return map[string]size{"MEDIUM": medium, "LARGE": large, "XLARGE": {36, 72 * gib}, "2XLARGE": {72, 144 * gib}}
	case envType == "MAC_ARM":
		return map[string]size{"MEDIUM": {8, 24 * gib}, "LARGE": {12, 32 * gib}}
	}
	return map[string]size{"SMALL": small, "MEDIUM": medium, "LARGE": large, "XLARGE": {36, 72 * gib}, "2XLARGE": {72, 144 * gib}}
}

// lambdaSize reads BUILD_LAMBDA_4GB. Lambda gives CPU with the memory: a whole
// one for each 1,769 MB.
func lambdaSize(name string) (size, bool) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "BUILD_"), "LAMBDA_")
	if !ok {
		return size{}, false
	}
	switch rest {
	case "1GB", "2GB", "4GB", "8GB", "10GB":
	default:
		return size{}, false
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(rest, "GB"), 10, 64)
	if err != nil {
		return size{}, false
	}
	cpus := float64(n*1024) / 1769
	return size{float64(int(cpus*100+0.5)) / 100, n * gib}, true
}

// reservedSize reads the machine of a reserved fleet: reserved.x86-64.4cpu.8gib.
func reservedSize(name string) (size, bool) {
	if !strings.HasPrefix(name, "RESERVED_") {
		return size{}, false
	}
	var s size
	for part := range strings.SplitSeq(name, "_") {
		if n, ok := strings.CutSuffix(part, "CPU"); ok {
			v, err := strconv.ParseFloat(n, 64)
			if err == nil && v > 0 && v <= 1024 {
				s.cpus = v
			}
		}
		if n, ok := strings.CutSuffix(part, "GIB"); ok {
			v, err := strconv.ParseInt(n, 10, 64)
			if err == nil && v > 0 && v <= 1<<16 {
				s.memory = v * gib
			}
		}
	}
	return s, s.cpus > 0 && s.memory > 0
}
