"""scheduler_policies"""
