package agent

// command is any program. What it prints is its log, and its exit code its end.
type command struct{}

// Start implements Agent.
func (command) Start(task Task) Invocation { return Invocation{Args: task.Arguments} }

// Read implements Agent.
func (command) Read(line string) []Report {
	return []Report{{Type: Log, Content: map[string]any{"text": line}}}
}
