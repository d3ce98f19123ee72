package runner

import (
	"bufio"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graf-run/graf/runner/agent"
)

const (
	// sessionEvery is how often an agent's session file is looked at.
	sessionEvery = 200 * time.Millisecond
	// maxSessionLine bounds a line of it that is read; longer ones are passed over.
	maxSessionLine = 1 << 20
)

// follower reads what is added to an agent's session file.
type follower struct {
	// find gives the file's name, "" as long as there is none.
	find func() string
	each func(line string)
	stop chan struct{}
	done sync.WaitGroup
}

// followSession has the reports of the agent's session file taken until the function
// that it returns is called, which takes what is left. Of an agent without such a
// file, or a session that is not known, there are none.
func (r *runner) followSession(program agent.Agent, session func() string, take func(agent.Report)) (stop func()) {
	keeper, keeps := program.(agent.SessionKeeper)
	if !keeps {
		return func() {}
	}
	environment := lookUp(r.config.Environment)
	f := &follower{
		find: func() string {
			if id := session(); id != "" {
				return keeper.SessionFile(environment, id)
			}
			return ""
		},
		each: func(line string) {
			for _, said := range keeper.ReadSession(line) {
				take(said)
			}
		},
		stop: make(chan struct{}),
	}
	f.done.Go(f.run)
	return func() { close(f.stop); f.done.Wait() }
}

func (f *follower) run() {
	ticker := time.NewTicker(sessionEvery)
	defer ticker.Stop()
	var file *os.File
	var reader *bufio.Reader
	var part strings.Builder
	defer func() { _ = file.Close() }() // it was only read; nil is none
	for last := false; !last; {
		select {
		case <-f.stop:
			last = true
		case <-ticker.C:
		}
		if file == nil {
			if file = f.open(); file == nil {
				continue
			}
			reader = bufio.NewReader(file)
		}
		f.read(reader, &part)
	}
}

func (f *follower) open() *os.File {
	name := f.find()
	if name == "" {
		return nil
	}
	// It is the agent's, who may have made it a pipe: that would wait for a writer.
	file, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = file.Close() // nothing was read
		return nil
	}
	return file
}

// read takes the lines that are whole; part keeps the beginning of one that is not.
func (f *follower) read(reader *bufio.Reader, part *strings.Builder) {
	for {
		text, err := reader.ReadSlice('\n')
		if part.Len() < maxSessionLine {
			part.Write(text)
		}
		switch {
		case err == nil:
			if part.Len() < maxSessionLine {
				f.each(part.String())
			}
			part.Reset()
		case !errors.Is(err, bufio.ErrBufferFull):
			return // the rest is still to be written
		}
	}
}

// lookUp reads variables of an environment, NAME=value.
func lookUp(environment []string) func(name string) string {
	return func(name string) string {
		for _, variable := range environment {
			if value, found := strings.CutPrefix(variable, name+"="); found {
				return value
			}
		}
		return ""
	}
}
