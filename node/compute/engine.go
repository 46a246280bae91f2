package compute

// engineLimits bound what one run may take.
type engineLimits struct {
	threads  int
	memoryMB int
}

// engine answers a program from the working table at a path. Its error is errTooManyGroups or a failure.
type engine func(path string, p *program, limits engineLimits) (*exact, error)
