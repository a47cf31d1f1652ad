"""When job schedules make jobs, and what these are: pure decisions over `scheduler.job_schedule`."""
