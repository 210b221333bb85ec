-- A message that comes again is answered as it was the first time: with what was refused of it.
CREATE INDEX quarantine_of_message ON quarantine (edge, epoch, seq);
