"""How little can fool the victim? From below an estimate (CLEVER), from above what attacks found."""
