package agent

// command is any program. What it prints is its log, and its exit code its end.
type command struct{}

func (command) Start(task Task) Invocation { return Invocation{Args: task.Arguments} }

func (command) Read(line string) []Report {
	return []Report{{Type: Log, Content: map[string]any{"text": line}}}
}
