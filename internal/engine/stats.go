package engine

// Stats is how much an engine has to do.
type Stats struct {
	Builds    int            // that are not done, in this process' hands
	Compiling int            // of these, waiting for their definition to be read
	Running   int            // jobs
	Ready     map[string]int // jobs that could run, by what they wait for, as in ci.Wait
	Runners   int            // that wait for a job
	Used      Demand         // by jobs that run
	Capacity  Demand         // of the machine; zero values are no limit
}

// Stats says how much there is to do now.
func (e *Engine) Stats() Stats {
	s := Stats{Ready: map[string]int{}, Capacity: e.cfg.Capacity}
	e.mu.Lock()
	s.Builds = len(e.builds)
	e.mu.Unlock()
	e.todo.mu.Lock()
	s.Compiling = len(e.todo.builds)
	e.todo.mu.Unlock()
	q := e.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	s.Running, s.Runners, s.Used = len(q.taken), len(q.runners), q.used
	count := func(list []*entry) {
		for _, en := range list {
			if en.gone.Load() {
				continue
			}
			why := waitRunner
			if n := len(en.waits); n > 0 {
				why = en.waits[n-1].For
			}
			s.Ready[why]++
		}
	}
	count(q.again)
	for _, l := range q.projects {
		count(l.begun)
		count(l.fresh)
	}
	return s
}
